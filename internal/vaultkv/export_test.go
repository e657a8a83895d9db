package vaultkv
