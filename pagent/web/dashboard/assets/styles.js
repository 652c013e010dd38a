// Style sheets of parts of the page that are loaded when they are first displayed.

const loaded = new Map();

// Load a style sheet once; resolves when it holds.
export function withStyle(name) {
  if (!loaded.has(name)) {
    const link = document.createElement("link");
    link.rel = "stylesheet";
    link.href = new URL(name, import.meta.url).href;
    const done = new Promise((resolve, reject) => {
      link.addEventListener("load", resolve);
      link.addEventListener("error", () => {
        loaded.delete(name);
        link.remove();
        reject(new Error(`${name} could not be loaded`));
      });
    });
    loaded.set(name, done);
    document.head.append(link);
  }
  return loaded.get(name);
}
