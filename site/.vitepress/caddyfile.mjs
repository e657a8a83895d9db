// The Caddyfile's grammar, as far as colours need it.
export default {
  name: "caddyfile",
  scopeName: "source.caddyfile",
  patterns: [{ include: "#comment" }, { include: "#heredoc" }, { include: "#string" }, { include: "#placeholder" }, { include: "#matcher" }, { include: "#number" }, { include: "#directive" }, { include: "#brace" }],
  repository: {
    comment: { name: "comment.line.number-sign", match: "(?<=^|\\s)#.*$" },
    heredoc: { name: "string.unquoted.heredoc", begin: "<<([A-Za-z0-9_-]+)$", end: "^\\s*\\1$" },
    string: {
      patterns: [
        { name: "string.quoted.double", begin: "\"", end: "\"", patterns: [{ name: "constant.character.escape", match: "\\\\." }, { include: "#placeholder" }] },
        { name: "string.quoted.raw", begin: "`", end: "`" },
      ],
    },
    placeholder: { name: "variable.other", match: "\\{[$A-Za-z][^\\s{}]*\\}" },
    matcher: { name: "entity.name.function", match: "(?<=^|\\s)@[\\w-]+" },
    number: { name: "constant.numeric", match: "(?<=\\s)-?\\d+(\\.\\d+)?([a-zA-Z%]+|/[a-z]+)?(?=\\s|$)" },
    directive: { name: "keyword", match: "^\\s*[a-z][a-z0-9_]*(?=\\s|$)" },
    brace: { name: "punctuation.section", match: "(?<=^|\\s)[{}](?=\\s|$)" },
  },
};
