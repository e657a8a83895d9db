// No editor and no listener: the flows run, and the debug node writes to standard output.
module.exports = { uiHost: '127.0.0.1', httpAdminRoot: false, httpNodeRoot: false, httpStatic: false, telemetry: { enabled: false }, credentialSecret: 'unused' }
