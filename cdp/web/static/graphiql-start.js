// GraphiQL on our own door: the session's cookie and its token, nothing kept in the browser but the open tabs.
"use strict";

document.addEventListener("DOMContentLoaded", () => {
  const place = document.getElementById("graphiql");
  const fetcher = async (operation) => {
    const answer = await fetch(place.dataset.address, {
      method: "POST",
      headers: {
        "Content-Type": "application/json",
        Accept: "application/graphql-response+json, application/json",
        "X-CSRF-Token": place.dataset.csrf,
      },
      body: JSON.stringify(operation),
    });
    return answer.json();
  };
  // What was typed may hold somebody's data: it stays in memory and goes with the page.
  const kept = new Map();
  const storage = {
    getItem: (name) => kept.get(name) ?? null,
    setItem: (name, value) => void kept.set(name, value),
    removeItem: (name) => void kept.delete(name),
    clear: () => kept.clear(),
    get length() {
      return kept.size;
    },
  };
  const theme = document.documentElement.dataset.theme;
  if (theme) storage.setItem("graphiql:theme", theme);
  const tabs = JSON.parse(place.dataset.tabs);
  const element = React.createElement(GraphiQL, {
    fetcher,
    storage,
    defaultTabs: tabs,
    variables: tabs[0].variables,
    defaultEditorToolsVisibility: "variables",
    isHeadersEditorEnabled: false,
    shouldPersistHeaders: false,
  });
  if (ReactDOM.createRoot) ReactDOM.createRoot(place).render(element);
  else ReactDOM.render(element, place);
});
