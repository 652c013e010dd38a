// What the reader has chosen, kept by the browser. One that keeps nothing has the choice for this page only.

const page = new Map();

export function stored(name) {
  try {
    return localStorage.getItem(`pagent-${name}`) ?? page.get(name) ?? null;
  } catch {
    return page.get(name) ?? null;
  }
}

export function store(name, value) {
  page.set(name, value);
  try {
    localStorage.setItem(`pagent-${name}`, value);
  } catch {
    // It holds for this page.
  }
}
