// The address says what was planned, as far as it differs from the defaults, without the page being made anew.
Object.assign(window.dash_clientside.trimtab, {
  planned: function (key, demand, headroom, slo, defaults, ...given) {
    if (!key) return window.dash_clientside.no_update;
    const said = new URLSearchParams();
    Object.keys(defaults).forEach((name, place) => {
      const value = given[place] ?? null;
      if (value !== defaults[name] && !(value === "" && defaults[name] === null)) said.set(name, value ?? "");
    });
    const unmoved = given[Object.keys(defaults).indexOf("headroom")] ?? 0;
    for (const [name, value, plain] of [["if_demand", demand, 1], ["if_headroom", headroom, unmoved], ["if_slo", slo, 1]])
      if (value !== plain) said.set(name, value);
    history.replaceState(history.state, "", said.size ? `?${said}` : location.pathname);
    return key;
  },
});
