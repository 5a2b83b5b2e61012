import assert from 'node:assert/strict'
import { test } from 'node:test'
import { loadConfig } from '../config/load.ts'
import { builtinPlugins } from '../plugins/builtin.ts'
import { describeProcesses, processLines } from './process-meaning.ts'

async function meaningOf(assignments: readonly string[]) {
  const config = await loadConfig({ files: [], environment: {}, assignments, lenient: false, plugins: builtinPlugins })
  const processes = describeProcesses(config)
  return { processes, lines: processLines(processes, config) }
}

test('which parts are processes of their own', async () => {
  assert.deepEqual((await meaningOf([])).lines, [])
  const { processes, lines } = await meaningOf([
    'process.user-server=acmems',
    'process.user-responder=answers:www-data',
    'process.responder=/run/a/S',
    'process.installer=/run/b/S',
    'process.firewall=/run/c/S',
  ])
  assert.deepEqual(processes, {
    users: { server: 'acmems', responder: 'answers:www-data', accountd: null },
    responder: '/run/a/S',
    installer: '/run/b/S',
    firewall: '/run/c/S',
  })
  assert.deepEqual(lines, [
    'started by root, each part is a process of its own: server as acmems, responder as answers:www-data',
    'validations: answered by acmems responder, which asks at /run/a/S',
    'keys of certificates: made, kept and installed by acmems-install at /run/b/S',
    'ports of validations: opened for as long as they take by acmems firewall at /run/c/S',
  ])
})
