window.dash_clientside = Object.assign({}, window.dash_clientside, {
  create: {
    // A file goes to the service as it is, by the same door as any other client's.
    uploaded: async function (contents, filename) {
      if (!contents) return window.dash_clientside.no_update;
      const text = atob(contents.slice(contents.indexOf(",") + 1));
      const bytes = Uint8Array.from(text, (letter) => letter.charCodeAt(0));
      const headers = { "Content-Type": "application/octet-stream", "X-File-Name": (filename || "").replace(/[^\x20-\x7e]/g, "_").slice(0, 300) };
      const answer = await window.dash_clientside.create.asked("/api/v1/traces", bytes, headers);
      return answer.body.trace ? answer.body : { error: answer.body.detail };
    },
    sent: async function (asked) {
      const no = window.dash_clientside.no_update;
      if (!asked) return [no, no];
      const button = document.getElementById("new-submit");
      button.disabled = true;
      const body = JSON.stringify(asked.document);
      const answer = await window.dash_clientside.create.asked("/api/v1/studies", body, { "Content-Type": "application/json" });
      button.disabled = false;
      return answer.body.id ? ["/studies/" + answer.body.id, no] : [no, answer.body];
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
