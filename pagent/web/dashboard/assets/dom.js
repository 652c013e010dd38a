// Elements. All text goes in as text nodes: nothing that a job, an agent or a file says is ever parsed as markup.

const SVG = "http://www.w3.org/2000/svg";

// Make an element: h("button.primary", {type: "button", onclick: save}, "Save").
// A property that begins with "on" is a listener; true is an empty attribute; false, null and undefined are none.
export function h(kind, properties = {}, ...children) {
  const [tag, ...classes] = kind.split(".");
  const element = document.createElement(tag);
  if (classes.length) element.className = classes.join(" ");
  for (const [name, value] of Object.entries(properties)) set(element, name, value);
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

export function set(element, name, value) {
  if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
  else if (value === false || value === null || value === undefined) element.removeAttribute(name);
  else element.setAttribute(name, value === true ? "" : String(value));
}

// Change the text of an element only if it is another one: an unchanged cell costs no layout.
export function setText(element, text) {
  if (element.firstChild === null || element.firstChild.nodeValue !== text || element.childNodes.length > 1) {
    element.textContent = text;
  }
}

export function setAttribute(element, name, value) {
  if (value === null) {
    if (element.hasAttribute(name)) element.removeAttribute(name);
  } else if (element.getAttribute(name) !== value) element.setAttribute(name, value);
}

// Draw a part of the page again, and give the focus back to the link or button that had it.
export function keepFocus(container, draw) {
  const focused = container.contains(document.activeElement) ? document.activeElement : null;
  const place = focused && [focused.tagName, focused.getAttribute("href"), focused.getAttribute("aria-label")].join();
  draw();
  if (!focused || focused.isConnected) return;
  const same = [...container.querySelectorAll("a, button")].find(
    (each) => [each.tagName, each.getAttribute("href"), each.getAttribute("aria-label")].join() === place,
  );
  same?.focus({ preventScroll: true });
}

// Paths of 16 x 16 icons, drawn with the colour of the text.
const ICONS = {
  overview: "M2 13V9m4 4V3m4 10V6m4 7v-3",
  agents: "M2 3h12v4H2zM2 9h12v4H2zM4.5 5h.01M4.5 11h.01",
  jobs: "M2 3h12v10H2zM4.5 6l2 2-2 2M8.5 10h3",
  pools: "M8 2l6 3-6 3-6-3zM2 8l6 3 6-3M2 11l6 3 6-3",
  help: "M8 14A6 6 0 1 0 8 2a6 6 0 0 0 0 12zM6.2 6.2a1.9 1.9 0 1 1 2.5 1.9c-.5.2-.7.5-.7 1M8 11.4h.01",
  theme: "M8 14A6 6 0 1 0 8 2a6 6 0 0 0 0 12zM8 2v12M8 5h3.5M8 8h5M8 11h3.5",
  key: "M5.5 10.5a3 3 0 1 1 2.6-4.5H14v2.5h-1.5V10h-2V8.5H8.1a3 3 0 0 1-2.6 2zM5.3 7.5h.01",
  copy: "M5.5 5.5V3h7v7H10M3.5 5.5h6.5v7.5h-6.5z",
  open: "M6 3H3v10h10v-3M9 3h4v4M13 3L7.5 8.5",
  stop: "M4 4h8v8H4z",
  trash: "M3 4.5h10M6.5 4.5V3h3v1.5M4.5 4.5l.5 8.5h6l.5-8.5M7 7v4M9 7v4",
  close: "M4 4l8 8M12 4l-8 8",
  up: "M4 10l4-4 4 4",
  down: "M4 6l4 4 4-4",
  download: "M8 2.5v8M4.5 7L8 10.5 11.5 7M3 13.5h10",
  upload: "M8 10.5v-8M4.5 6L8 2.5 11.5 6M3 13.5h10",
  refresh: "M13 8a5 5 0 1 1-1.5-3.5M13 2.5v3h-3",
  folder: "M2 4h4l1.5 2H14v7H2z",
  file: "M4 2h5l3 3v9H4zM9 2v3h3",
  search: "M7 11.5a4.5 4.5 0 1 0 0-9 4.5 4.5 0 0 0 0 9zM10.5 10.5L14 14",
};

export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 16 16");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", ICONS[name]);
  svg.append(path);
  return svg;
}

// Run an action at most once a frame, and at most once in ``least`` ms, however often it is asked for. A hidden page has no
// frames, and draws nothing.
export function framed(action, least = 0) {
  let [frame, timer, last] = [0, null, -Infinity];
  const run = (time) => {
    [frame, last] = [0, time];
    action();
  };
  const ask = () => {
    if (frame || timer !== null) return;
    const wait = last + least - performance.now();
    if (wait <= 0) frame = requestAnimationFrame(run);
    else {
      timer = setTimeout(() => {
        timer = null;
        frame = requestAnimationFrame(run);
      }, wait);
    }
  };
  ask.cancel = () => {
    cancelAnimationFrame(frame);
    clearTimeout(timer);
    [frame, timer] = [0, null];
  };
  return ask;
}
