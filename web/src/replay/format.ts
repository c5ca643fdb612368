// Ticks, bytes and dates, for people.

/** "1:05", "1:02:05". */
export function clockText(seconds: number): string {
  const whole = Math.max(0, Math.floor(seconds));
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60];
  const rest = String(whole % 60).padStart(2, "0");
  return hours > 0 ? `${hours}:${String(minutes).padStart(2, "0")}:${rest}` : `${minutes}:${rest}`;
}

/** "812 B", "4.2 KB", "31 MB". */
export function sizeText(bytes: number): string {
  const units = ["B", "KB", "MB", "GB", "TB"];
  let [value, unit] = [Math.max(0, bytes), 0];
  while (value >= 999.5 && unit < units.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${unit === 0 || value >= 9.95 ? Math.round(value) : value.toFixed(1)} ${units[unit]}`;
}

const AGES: readonly [number, string][] = [
  [86_400, "d"],
  [3600, "h"],
  [60, "min"],
];

/** "just now", "5 min ago". */
export function agoText(seconds: number): string {
  for (const [length, name] of AGES) {
    if (seconds >= length) return `${Math.floor(seconds / length)} ${name} ago`;
  }
  return "just now";
}

/** "0.25×". */
export function speedText(speed: number): string {
  return `${speed}×`;
}
