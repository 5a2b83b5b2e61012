// What node:dgram alone can do: sends every datagram back. Argument: port.
import { createSocket } from 'node:dgram'

const socket = createSocket('udp4')
socket.on('message', (packet, { port, address }) => socket.send(packet, port, address))
socket.bind(Number(process.argv[2]), '127.0.0.1', () => process.stdout.write('ready\n'))
