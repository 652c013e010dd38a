// The theme, before the first paint. A classic script: a module would run after it.
(() => {
  const KEY = "pagent-theme";
  const CHOICES = ["auto", "dark", "light"];
  const root = document.documentElement;
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const paper = matchMedia("print"); // which is light

  function apply(choice) {
    root.dataset.theme = choice;
    root.dataset.shade = paper.matches ? "light" : choice === "auto" ? (dark.matches ? "dark" : "light") : choice;
    window.dispatchEvent(new Event("themechange"));
  }

  function stored() {
    try {
      return localStorage.getItem(KEY);
    } catch {
      return null;
    }
  }

  // The choice is one of CHOICES.
  window.pagentTheme = {
    get choice() {
      return root.dataset.theme;
    },
    set choice(value) {
      try {
        localStorage.setItem(KEY, value);
      } catch {
        // A browser that keeps nothing: the choice holds for this page.
      }
      apply(value);
    },
    next() {
      this.choice = CHOICES[(CHOICES.indexOf(this.choice) + 1) % CHOICES.length];
    },
  };
  [dark, paper].forEach((media) => media.addEventListener("change", () => apply(root.dataset.theme)));
  const first = stored();
  apply(CHOICES.includes(first) ? first : "auto");
})();
