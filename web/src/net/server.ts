// Which server this page plays on: the one that it came from, or the one that its address names.

const PARAMETER = "server";
const LOOPBACK = new Set(["localhost", "127.0.0.1", "[::1]"]);

/**
 * The origin of the server. A page that is kept elsewhere says which one it is for by `?server=https://game.example`; only
 * https is let in, and http on this machine, so that nobody's game is sent in the clear by a link. The pages that servers
 * embed may talk to their own server only: their policy says so, whatever the address does.
 */
export function serverUrl(page: { origin: string; search: string } = location): string {
  const wanted = new URLSearchParams(page.search).get(PARAMETER);
  return (wanted === null ? undefined : allowed(wanted)) ?? page.origin;
}

/** An address within this page, for the same server. */
export function withServer(address: string, page: { search: string } = location): string {
  const wanted = new URLSearchParams(page.search).get(PARAMETER);
  if (wanted === null || allowed(wanted) === undefined) return address;
  const mark = address.includes("?") ? "&" : "?";
  return `${address}${mark}${PARAMETER}=${encodeURIComponent(wanted)}`;
}

function allowed(wanted: string): string | undefined {
  if (!URL.canParse(wanted)) return undefined;
  const url = new URL(wanted);
  const isAllowed = url.protocol === "https:" || (url.protocol === "http:" && LOOPBACK.has(url.hostname));
  return isAllowed && url.username === "" && url.password === "" ? url.origin : undefined;
}
