// What node:http alone can do: reads the body, answers always the same. Arguments: port, file with headers and body.
import { readFileSync } from 'node:fs'
import { createServer } from 'node:http'

const [port, answerFile = ''] = process.argv.slice(2)
const { headers, body } = JSON.parse(readFileSync(answerFile, 'utf8')) as {
  readonly headers: Record<string, string>
  readonly body: string
}

const server = createServer({ keepAliveTimeout: 60_000, noDelay: true }, (request, response) => {
  const chunks: Buffer[] = []
  request.on('data', (chunk: Buffer) => chunks.push(chunk))
  request.on('end', () => {
    Buffer.concat(chunks)
    response.writeHead(200, headers)
    response.end(body)
  })
})
server.listen(Number(port), '127.0.0.1')
