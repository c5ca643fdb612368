import "./view/style.css";
import { App } from "./app";

const app = new App();
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
  cutSocket: () => app.flight?.session.cutSocket(),
});
