// A WebSocket server of the ws library: sends each message back, and the headers of the request for the message "headers".
import { WebSocketServer } from 'ws'

const [host, port] = process.argv[2].split(':')
const server = new WebSocketServer({ host, port: Number(port), maxPayload: 8 << 20, perMessageDeflate: { threshold: 0 } })
server.on('connection', (socket, request) => {
  socket.on('message', (data, binary) => {
    if (!binary && data.toString() === 'headers') socket.send(JSON.stringify(request.headers))
    else socket.send(data, { binary })
  })
})
