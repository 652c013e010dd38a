// What the reader has chosen or given, kept by the browser. One that keeps nothing has it for this page only.

const page = new Map();

// A browser may refuse the storage itself.
function storage(ofTab) {
  try {
    return ofTab ? sessionStorage : localStorage;
  } catch {
    return null;
  }
}

// ``ofTab``: it is kept until the tab is closed.
export function stored(name, { ofTab = false } = {}) {
  return page.get(name) ?? storage(ofTab)?.getItem(`pagent-${name}`) ?? null;
}

// null: forget it.
export function store(name, value, { ofTab = false } = {}) {
  page.set(name, value);
  try {
    if (value === null) storage(ofTab)?.removeItem(`pagent-${name}`);
    else storage(ofTab)?.setItem(`pagent-${name}`, value);
  } catch {
    // The storage is full: it holds for this page.
  }
}
