window.dash_clientside = Object.assign({}, window.dash_clientside, {
  create: {
    // A file goes to the service as it is, by the same door as any other client's.
    uploaded: async function (contents, filename) {
      if (!contents) return window.dash_clientside.no_update;
      const text = atob(contents.slice(contents.indexOf(",") + 1));
      const bytes = Uint8Array.from(text, (letter) => letter.charCodeAt(0));
      const place = document.getElementById("new-upload");
      place.classList.add("busy");
      const headers = { "Content-Type": "application/octet-stream", "X-File-Name": (filename || "").replace(/[^\x20-\x7e]/g, "_").slice(0, 300) };
      const answer = await window.dash_clientside.create.asked("/api/v1/traces", bytes, headers);
      place.classList.remove("busy");
      return answer.body.trace ? answer.body : { error: answer.body.detail };
    },
    sent: async function (asked) {
      const no = window.dash_clientside.no_update;
      if (!asked) return [no, no];
      const button = document.getElementById("new-submit");
      button.disabled = true;
      button.classList.add("busy");
      const body = JSON.stringify(asked.document);
      const answer = await window.dash_clientside.create.asked("/api/v1/studies", body, { "Content-Type": "application/json" });
      button.disabled = false;
      button.classList.remove("busy");
      return answer.body.id ? ["/studies/" + answer.body.id, no] : [no, answer.body];
    },
    // The input that the component makes for itself has no name for a screen reader.
    labelled: function () {
      const input = document.querySelector("#new-upload input");
      if (input) input.setAttribute("aria-label", "Upload a trace");
      return window.dash_clientside.no_update;
    },
    asked: async function (address, body, headers) {
      try {
        const response = await fetch(address, { method: "POST", body: body, headers: headers });
        return { body: await response.json() };
      } catch (error) {
        return { body: { detail: "The service did not answer; it may be restarting. Try again." } };
      }
    },
  },
});
