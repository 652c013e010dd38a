// What the token of this page may do: docs/access.rst, "Scopes".

const OWNER = "pagent/owner";

// Whether one scope, as GET /v1/whoami has it, is good for a job or an agent; with neither, for any object.
function covers(grant, scope, name, { job = null, agent = null }) {
  const [granted, limit = ""] = split(grant, "!");
  if (granted !== scope) return false;
  if (limit === "any") return true;
  const [kind, value = ""] = split(limit, "=");
  if (agent) return limit === "" ? scope === "admin" : kind === "agent" && value === agent.uid;
  if (!job) return true;
  const labels = job.labels ?? {};
  if (limit === "") return name !== null && labels[OWNER] === name;
  if (kind === "agent") return job.agent === value;
  if (kind === "job") return job.uid === value;
  return kind.startsWith("label.") && labels[kind.slice(6)] === value;
}

function split(text, mark) {
  const at = text.indexOf(mark);
  return at < 0 ? [text] : [text.slice(0, at), text.slice(at + mark.length)];
}

// Return why the caller may not do something; null if it may. ``target``: {job} or {agent}.
export function refusal(caller, scope, target = {}) {
  if (!caller) return "The rights of this page are not known yet.";
  if (caller.open && caller.scopes.length === 0) return null;
  if (caller.scopes.some((grant) => covers(grant, scope, caller.name, target))) return null;
  const has = caller.scopes.some((grant) => split(grant, "!")[0] === scope);
  if (has && target.job) return `The scope “${scope}” of this token is not good for this job.`;
  if (has && target.agent) return `The scope “${scope}” of this token is not good for this agent.`;
  return `This needs a token with the scope “${scope}”.`;
}
