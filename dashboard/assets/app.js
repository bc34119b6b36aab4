window.dash_clientside = Object.assign({}, window.dash_clientside, {
  trimtab: {
    // The light palette's colours have one dark counterpart each; app.css has the same pairs for the page.
    swaps: null,
    themed: function (figure, dark) {
      if (!figure) return window.dash_clientside.no_update;
      const swaps = JSON.parse(document.querySelector('meta[name="trimtab-dark"]').content);
      const text = JSON.stringify(figure);
      return JSON.parse(dark ? text.replace(/#[0-9a-f]{6}\b/gi, (color) => swaps[color.toLowerCase()] || color) : text);
    },
    // Until the button is used, what the system says counts.
    dark: function (clicks) {
      const kept = localStorage.getItem("trimtab-theme");
      const before = kept ? kept === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
      const now = clicks ? !before : before;
      document.documentElement.dataset.theme = now ? "dark" : "light";
      if (clicks) localStorage.setItem("trimtab-theme", now ? "dark" : "light");
      return now;
    },
    titled: function () {
      const heading = document.querySelector("#page h1");
      document.title = heading ? heading.textContent + " · Trimtab" : "Trimtab";
      return window.dash_clientside.no_update;
    },
  },
});

// Dash hides these from screen readers and leaves them in the order of tabs, beside the button that they stand for.
new MutationObserver(function () {
  for (const hidden of document.querySelectorAll('.dash-dropdown-focus-target:not([tabindex="-1"])')) hidden.tabIndex = -1;
}).observe(document.documentElement, { childList: true, subtree: true });
