// Makes Node's fetch heed HTTP_PROXY and NO_PROXY: NODE_OPTIONS='--import /path/to/env-proxy.mjs'.
// Node does it by itself from 22.21 and 24.5, where NODE_USE_ENV_PROXY=1.
import { EnvHttpProxyAgent, setGlobalDispatcher } from 'undici'

setGlobalDispatcher(new EnvHttpProxyAgent())
