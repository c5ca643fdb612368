import "./view/style.css";
import "./replay/style.css";
import { App } from "./app";
import { ReplayApp } from "./replay/app";
import { withServer } from "./net/server";
import { isReplayPath } from "./replay/link";

// One page, two ways to look at a server: the game, and what was played.
for (const link of document.querySelectorAll<HTMLAnchorElement>('a[href^="/"]')) link.href = withServer(link.getAttribute("href") ?? "/");
const app = isReplayPath(location.pathname) ? new ReplayApp() : new App();
app.start();

// While developing: everything, from the console.
if (import.meta.env.DEV) Object.assign(window, { app });

declare global {
  interface Window {
    /** What the page knows, for tests and the curious. */
    fray: { readonly state: object; cutSocket(): void };
  }
}

window.fray = Object.freeze({
  get state() {
    return app.debug();
  },
  cutSocket: () => {
    if (app instanceof App) app.flight?.session.cutSocket();
  },
});
