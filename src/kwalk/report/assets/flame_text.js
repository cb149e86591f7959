// SPDX-License-Identifier: MIT
// Texts about a frame, and the search for frames by name.
function flameText(data, view) {
  "use strict";

  const { names, change, unit, one } = data;

  const number = (value) => value.toLocaleString("en-US", { maximumFractionDigits: 1 });
  const counted = (value, single, more) => {
    const text = number(value);
    return `${text} ${text === "1" ? single : more}`;
  };
  const calls = (value) => counted(value, one, unit);
  const percent = (part, whole) => `${whole ? (100 * part / whole).toFixed(1) : "0.0"} %`;

  // Describe a frame; `whole` is the tree's root.
  function facts(d, whole) {
    const node = d.data;
    if (change) {
      const difference = node.after - node.before;
      const sign = difference > 0 ? "+" : difference < 0 ? "\u2212" : "\u00b1";
      const times = node.before && node.after ? `, \u00d7${(node.after / node.before).toFixed(2)}`
        : node.after ? ", new" : ", gone";
      return `after ${calls(node.after)} (${percent(node.after, whole.after)}), before `
        + `${number(node.before)} (${percent(node.before, whole.before)}): `
        + `${sign}${number(Math.abs(difference))}${times}`;
    }
    const parts = [calls(node.v)];
    if (d.parent) parts[0] += `, ${percent(node.v, whole.v)} of all that are shown`;
    if (d.parent && d.parent.parent) {
      const which = view.callers ? "of the calls of" : "of those through";
      parts.push(`${percent(node.v, d.parent.data.v)} ${which} ${names[d.parent.data.n]}`);
    }
    if (node.own && node.own !== node.v) parts.push(counted(node.own, "ends here", "end here"));
    return parts.join("; ");
  }

  // Return a regular expression for a name or a part of it, a pattern with *, or /regex/.
  function matcher(term) {
    const quoted = (text) => text.replace(/[.+^${}()|[\]\\]/g, "\\$&");
    const regex = /^\/(.*?)\/?$/.exec(term);
    try {
      if (regex) return new RegExp(regex[1] || "(?!)", "i");
    } catch {
      return null;
    }
    if (!/[*?]/.test(term)) return new RegExp(quoted(term), "i");
    const pattern = quoted(term).replace(/\*/g, ".*").replace(/\?/g, ".");
    return new RegExp(`^${pattern}( \\[.*\\])?$`, "i");
  }

  return { number, counted, calls, percent, facts, matcher };
}
