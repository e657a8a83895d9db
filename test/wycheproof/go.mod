// Module wycheproof pins the test vectors of Project Wycheproof. Package test/vectors reads them from the module cache; nothing here is built,
// and what they depend on stays out of the product's module graph.
module github.com/keybearer/keybearer/test/wycheproof

go 1.26.4

require github.com/c2sp/wycheproof v0.0.0-20260902155932-3fa63dd0344a
