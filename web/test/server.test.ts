// Which server a page is for.

import { expect, it } from "vitest";
import { serverUrl, withServer } from "../src/net/server";

const page = (search: string): { origin: string; search: string } => ({ origin: "https://pages.example", search });

it("is the page's own unless its address names another", () => {
  expect(serverUrl(page(""))).toBe("https://pages.example");
  expect(serverUrl(page("?server=https://game.example:8443/path"))).toBe("https://game.example:8443");
  expect(serverUrl(page("?server=http://localhost:7777"))).toBe("http://localhost:7777");
  expect(serverUrl(page("?server=http://127.0.0.1:7777"))).toBe("http://127.0.0.1:7777");
});

it.each(["http://game.example", "javascript:alert(1)", "//game.example", "game.example", "", "https://a:b@game.example", "http://localhost.evil.example"])(
  "is never %s",
  (wanted) => {
    const search = `?server=${encodeURIComponent(wanted)}`;
    expect(serverUrl(page(search))).toBe("https://pages.example");
    expect(withServer("/replay", { search })).toBe("/replay");
  },
);

it("goes along with links within the page", () => {
  const search = "?server=https://game.example";
  expect(withServer("/replay", { search })).toBe("/replay?server=https%3A%2F%2Fgame.example");
  expect(withServer("/replay?recording=a", { search })).toBe("/replay?recording=a&server=https%3A%2F%2Fgame.example");
  expect(withServer("/replay", { search: "" })).toBe("/replay");
});
