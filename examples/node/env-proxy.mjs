// Makes the fetch of Node before 24 heed HTTP_PROXY and NO_PROXY: NODE_OPTIONS='--import /path/to/env-proxy.mjs'.
// Node 24 does it by itself where NODE_USE_ENV_PROXY=1.
import { EnvHttpProxyAgent, setGlobalDispatcher } from 'undici'

setGlobalDispatcher(new EnvHttpProxyAgent())
