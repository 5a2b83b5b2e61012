import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { connect, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { answerQuestions } from './answerer.ts'
import { formatLine } from './question-protocol.ts'

const questions = 1000

test('whoever asks without end leaves this process time for others', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'answerer-'))
  let [answered, inThisTurn, mostInTurn] = [0, 0, 0]
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    answerQuestions(socket, {
      maxLineBytes: 1000,
      maxPending: 256,
      onBroken: (why) => assert.fail(why),
      async answer() {
        answered += 1
        inThisTurn += 1
        mostInTurn = Math.max(mostInTurn, inThisTurn)
        return {}
      },
    })
  })
  const path = join(folder, 'S')
  await new Promise<void>((resolve) => server.listen({ path }, resolve))
  let isCounting = true
  const count = () => {
    inThisTurn = 0
    if (isCounting) setImmediate(count)
  }
  count()
  const client = connect({ path })
  const all = Array.from({ length: questions }, (_, id) => formatLine({ id, ask: 'x' })).join('')
  client.end(all)
  let received = ''
  for await (const chunk of client) received += String(chunk)
  isCounting = false
  server.close()
  rmSync(folder, { recursive: true })
  assert.equal(received.split('\r\n').length - 1, questions)
  assert.equal(answered, questions)
  assert.ok(mostInTurn <= 100, `${mostInTurn} answers in one turn`)
})
