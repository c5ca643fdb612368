// Hues, so that all of them look equally bright: blues are lifted, yellows and greens held back.

export function colour(hue: number, lightness: number, alpha = 1): string {
  const toBlue = Math.cos(((hue - 245) * Math.PI) / 180);
  const toGreen = Math.cos(((hue - 110) * Math.PI) / 180);
  const lifted = lightness + 11 * Math.max(0, toBlue) - 9 * Math.max(0, toGreen);
  return `hsl(${Math.round(hue)} 95% ${Math.min(97, lifted).toFixed(1)}% / ${alpha})`;
}

/** What pick-ups look like, by their type. */
export const PICKUP_HUES: Record<number, number> = { 1: 140, 2: 195, 3: 35 };
export const ROCK_HUE = 222;

/** A number from 0 to 1 that depends on nothing but these. */
export function chance(seed: number, index: number): number {
  let hash = Math.imul(seed ^ 0x9e3779b9, 0x85ebca6b) ^ Math.imul(index + 1, 0xc2b2ae35);
  hash = Math.imul(hash ^ (hash >>> 15), 0x2c1b3c6d);
  hash ^= hash >>> 12;
  return (hash >>> 0) / 2 ** 32;
}
