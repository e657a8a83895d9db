storage "raft" {
  path                   = "/vault/file"
  node_id                = "one"
  performance_multiplier = 1
}

listener "tcp" {
  address       = "0.0.0.0:8200"
  tls_cert_file = "/secrets/server.pem"
  tls_key_file  = "/secrets/server.key"
}

api_addr      = "https://vault:8200"
cluster_addr  = "https://vault:8201"
disable_mlock = true
