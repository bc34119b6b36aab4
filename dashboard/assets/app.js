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
    dark: function (clicks, before) {
      const now = clicks ? !before : before === undefined || before === null ? matchMedia("(prefers-color-scheme: dark)").matches : before;
      document.documentElement.dataset.theme = now ? "dark" : "light";
      return now;
    },
    titled: function () {
      const heading = document.querySelector("#page h1");
      document.title = heading ? heading.textContent + " · Trimtab" : "Trimtab";
      return window.dash_clientside.no_update;
    },
  },
});
