window.dash_clientside = Object.assign({}, window.dash_clientside, {
  study: {
    // The address follows what is chosen without the page being made anew.
    addressed: function (query) {
      if (query) history.replaceState(history.state, "", location.pathname + "?" + new URLSearchParams(query).toString());
      return window.dash_clientside.no_update;
    },
  },
});
