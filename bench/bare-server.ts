// What node:http or node:https alone can do: reads the body, answers always the same. Arguments: port, file with the
// answers, and for TLS the files of the certificate and its key.
import { readFileSync } from 'node:fs'
import { createServer, type RequestListener } from 'node:http'
import { createServer as createTlsServer } from 'node:https'

export type BareAnswer = {
  readonly headers: Readonly<Record<string, string>>
  readonly body: string
  readonly status?: number
}

const [port, answerFile = '', certificateFile, keyFile] = process.argv.slice(2)
/** To POST, and to GET where that is another one. */
const { headers, body, get } = JSON.parse(readFileSync(answerFile, 'utf8')) as BareAnswer & {
  readonly get?: BareAnswer
}

const answer: RequestListener = (request, response) => {
  if (request.method === 'GET' && get !== undefined) {
    response.writeHead(get.status ?? 200, get.headers)
    response.end(get.body)
    return
  }
  const chunks: Buffer[] = []
  request.on('data', (chunk: Buffer) => chunks.push(chunk))
  request.on('end', () => {
    Buffer.concat(chunks)
    response.writeHead(200, headers)
    response.end(body)
  })
}
const options = { keepAliveTimeout: 60_000, noDelay: true }
const server =
  certificateFile === undefined || keyFile === undefined
    ? createServer(options, answer)
    : createTlsServer({ ...options, cert: readFileSync(certificateFile), key: readFileSync(keyFile) }, answer)
server.listen(Number(port), '127.0.0.1')
