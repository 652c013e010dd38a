// Whether the page is seen. A browser has six connections to one origin for all its tabs, so a page that is not seen gives
// its connections back.

const HIDDEN_MS = 10_000;

// Call a function when the page has not been seen for a while; return the function that ends this.
export function whenHidden(action) {
  let timer = null;
  const changed = () => {
    clearTimeout(timer);
    if (document.hidden) timer = setTimeout(action, HIDDEN_MS);
  };
  document.addEventListener("visibilitychange", changed);
  changed();
  return () => {
    clearTimeout(timer);
    document.removeEventListener("visibilitychange", changed);
  };
}

// Wait until the page is seen again.
export function visible(signal) {
  const over = new AbortController();
  return new Promise((resolve) => {
    const look = () => {
      if (document.hidden && !signal.aborted) return;
      over.abort();
      resolve();
    };
    document.addEventListener("visibilitychange", look, { signal: over.signal });
    signal.addEventListener("abort", look, { signal: over.signal });
    look();
  });
}
