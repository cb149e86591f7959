// SPDX-License-Identifier: MIT
// Trees of flame graphs, built from the page's data (flame/page.py: _Table.nodes).
function flameTrees(data) {
  "use strict";

  const TOGETHER = "", APART = "*"; // values of view.group; else the index of a group, as text
  const FEW = 8; // fewer children are searched linearly
  const { names, change, steps } = data;

  function made(n) {
    return { n, v: 0, after: 0, before: 0, own: 0, size: 1, c: null, known: null,
      hide: false, fade: false };
  }

  function childOf(node, name) {
    if (!node.c) return undefined;
    if (node.c.length < FEW) return node.c.find((child) => child.n === name);
    node.known ||= new Map(node.c.map((child) => [child.n, child]));
    return node.known.get(name);
  }

  // Call `visit` for each stack of a tree, a flat list in preorder: name, number of children, hits
  // that end here and, in comparisons, the earlier recording's hits that end here.
  function eachStack(nodes, visit) {
    const left = [], path = [];
    for (let at = 0; at < nodes.length;) {
      const name = nodes[at++], children = nodes[at++], own = nodes[at++];
      const before = change ? nodes[at++] : 0;
      path.push(name);
      left.push(children);
      if (own || before) visit(path, own, before);
      while (left.length && left[left.length - 1] === 0) {
        left.pop();
        path.pop();
        if (left.length) left[left.length - 1]--;
      }
    }
  }

  // Build the tree of the selected groups, as kwalk.report.calltree.build() does.
  function build(view) {
    const top = made(0), all = [top];
    for (const [index, tree] of data.trees.entries()) {
      if (view.group !== TOGETHER && view.group !== APART && view.group !== String(index)) continue;
      const apart = view.group === APART && tree.group !== 0;
      eachStack(tree.nodes, (path, own, before) => {
        let node = top;
        top.after += own;
        top.before += before;
        const down = (name) => {
          let child = childOf(node, name);
          if (!child) {
            all.push(child = made(name));
            (node.c ||= []).push(child);
            if (node.known) node.known.set(name, child);
          }
          child.after += own;
          child.before += before;
          node = child;
        };
        if (view.callers) {
          for (let at = path.length - 1; at > 0; at--) down(path[at]);
          if (apart) down(tree.group);
        } else {
          if (apart) down(tree.group);
          for (let at = 1; at < path.length; at++) down(path[at]);
        }
        node.own += view.before ? before : own;
      });
    }
    const larger = (one, other) => other.v - one.v || (names[one.n] < names[other.n] ? -1 : 1);
    for (let at = all.length - 1; at >= 0; at--) {
      const node = all[at];
      node.v = view.before ? node.before : node.after;
      node.known = null;
      if (node.c) {
        for (const child of node.c) node.size += child.size;
        if (node.c.length > 1) node.c.sort(larger);
      }
    }
    return top;
  }

  // Return the step of colour for a change: above 0 for more hits than before, below 0 for fewer.
  function step(node) {
    const { after, before } = node;
    const ratio = Math.min(after, before) ? Math.max(after / before, before / after)
      : after === before ? 1 : Infinity;
    let many = 0;
    while (many < steps.length && ratio >= steps[many]) many++;
    return after < before ? -many : many;
  }

  return { build, step, TOGETHER, APART };
}
