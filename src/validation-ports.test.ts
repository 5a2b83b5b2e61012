import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { ChallengeSolver, ChallengeTask, PluginContext } from './plugin-api.ts'
import { type ValidationPorts, withOpenPorts } from './validation-ports.ts'

const context = {} as PluginContext
const taskOf = (token: string) =>
  ({ identifier: { type: 'dns', value: 'a.test' }, challenge: { token } }) as ChallengeTask

test('ports are held from before the answer is there until it is removed, or the attempt ends', async () => {
  const open: number[] = []
  const ports: ValidationPorts = {
    async hold(wanted) {
      open.push(...wanted)
      return { release: async () => void open.splice(0, wanted.length) }
    },
    async [Symbol.asyncDispose]() {},
  }
  const seen: number[] = []
  const inner: ChallengeSolver = {
    type: 'http-01',
    responderListeners: ['0.0.0.0:80', '[::]:80', 'fd:3'],
    async present() {
      seen.push(open.length)
    },
    async cleanUp() {
      throw new Error('it cannot be removed')
    },
  }
  const solver = withOpenPorts(inner, ports)
  await Promise.all([solver.present(taskOf('a'), context), solver.present(taskOf('b'), context)])
  await solver.present(taskOf('a'), context)
  assert.deepEqual(
    [seen, open],
    [
      [2, 2, 2],
      [80, 80],
    ],
  )
  await assert.rejects(solver.cleanUp(taskOf('a'), context), /cannot be removed/)
  assert.deepEqual(open, [80])
  await solver.pause?.()
  await solver.pause?.()
  assert.deepEqual(open, [])
  await solver.present(taskOf('b'), context)
  assert.deepEqual(open, [80])
  const without = { ...inner, responderListeners: [] }
  assert.equal(withOpenPorts(without, ports), without)
})
