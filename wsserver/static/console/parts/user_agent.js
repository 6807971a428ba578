/** The program that a User-Agent names, in a few words. */

const PROGRAMS = [
  [/Edg(?:e|A|iOS)?\/(\d+)/, "Edge"],
  [/OPR\/(\d+)/, "Opera"],
  [/MicroMessenger\/(\d+)/, "WeChat"],
  [/SamsungBrowser\/(\d+)/, "Samsung Internet"],
  [/(?:Firefox|FxiOS)\/(\d+)/, "Firefox"],
  [/(?:Chrome|CriOS)\/(\d+)/, "Chrome"],
  [/Version\/(\d+)[^ ]* .*Safari/, "Safari"],
];
const SYSTEMS = [
  [/Windows/, "Windows"],
  [/iPhone|iPad|iOS/, "iOS"],
  [/Mac OS X|Macintosh/, "macOS"],
  [/Android/, "Android"],
  [/CrOS/, "ChromeOS"],
  [/Linux|X11/, "Linux"],
];

/** Such as "Chrome 120 · Windows"; of other programs their first word, "okhttp/4.12". */
export function programOf(userAgent) {
  if (!userAgent) return "";
  const system = SYSTEMS.find(([pattern]) => pattern.test(userAgent))?.[1];
  for (const [pattern, name] of PROGRAMS) {
    const found = pattern.exec(userAgent);
    if (found) return [`${name} ${found[1]}`, system].filter(Boolean).join(" · ");
  }
  const first = userAgent.split(" ")[0];
  return first.startsWith("Mozilla/") ? (system ?? first) : first;
}
