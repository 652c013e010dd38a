// Paths of files in the folder of a job, as listings of /v1 have them: names joined by slashes.

const LONE_SURROGATE = /[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g;
// Characters that file systems of people's devices refuse, or that change how a name reads.
const UNSAVABLE =
  /[\u0000-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069"*/:<>?\\|]|[\u{10fe80}-\u{10feff}]/gu;
// Characters that are special in a mask of an archive (docs/contract.rst): each is a class of its own.
const SPECIAL = /[*?[]/g;
const NAME_MAX = 200;

export function nameOf(path) {
  return path.slice(path.lastIndexOf("/") + 1);
}

export function folderOf(path) {
  return path.slice(0, Math.max(0, path.lastIndexOf("/")));
}

export function joined(folder, name) {
  return folder ? `${folder}/${name}` : name;
}

// Whether a path names something in the folder of the job. Browsers resolve "." and ".." in an address, also encoded
// ones, so such a name, which no file can have, would be another resource of the API.
export function isValid(path) {
  return path.split("/").every((name) => name !== "" && name !== "." && name !== "..");
}

// The path of a file of the API. All of it is one segment, with its slashes encoded.
export function resource(uid, path) {
  const files = `jobs/${encodeURIComponent(uid)}/files`;
  if (path === "") return files;
  if (!isValid(path)) throw new Error("This name cannot be that of a file.");
  return `${files}/${encodeURIComponent(wellFormed(path))}`;
}

// Names of files of this device may have halves of surrogate pairs, which have no encoding.
export function wellFormed(text) {
  return text.replace(LONE_SURROGATE, "\ufffd");
}

// The mask of all that is in a folder; null for everything.
export function maskOf(folder) {
  return folder ? `${wellFormed(folder).replace(SPECIAL, "[$&]")}/*` : null;
}

// A name for a file that the browser saves.
export function savable(name) {
  const text = wellFormed(name)
    .replace(UNSAVABLE, "_")
    .replace(/^[. ]+|[. ]+$/g, "_");
  return Array.from(text).slice(0, NAME_MAX).join("") || "file";
}
