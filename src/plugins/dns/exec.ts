import { access, constants } from 'node:fs/promises'
import { homedir, tmpdir } from 'node:os'
import { isAbsolute, join } from 'node:path'
import { runHook } from '../../hook-run.ts'
import type { ChallengeTask, OptionValues, Plugin, PluginContext, TxtRecord } from '../../plugin-api.ts'
import { searchPath } from '../../search-path.ts'
import { createTurns } from '../../turns.ts'
import { parseCount, parseYesNo } from '../option-values.ts'
import { acmeShWrapper, copySavedCredentials, findAcmeShPlugin, makePrivateFolder, removeLeftovers } from './acme-sh.ts'
import { type Action, type Dialect, describeCall, dialects } from './hook-dialects.ts'
import { parseVariables, type Variables } from './hook-environment.ts'

const options = {
  dialect: {
    meaning: `how the hook is called: ${dialects.join(', ')}`,
    type: 'word',
    default: 'lego',
    parse: parseDialect,
  },
  hook: { meaning: 'the program, for lego, lego-raw and dehydrated', type: 'path', parse: parseProgram },
  'auth-hook': { meaning: "certbot's manual auth hook", type: 'path', parse: parseProgram },
  'cleanup-hook': { meaning: "certbot's manual cleanup hook", type: 'path', parse: parseProgram },
  argument: { meaning: 'arguments before those of the dialect', type: 'text', list: true, parse: String },
  plugin: { meaning: "the name of acme.sh's plugin, dns_...", type: 'word', parse: parsePluginName },
  home: {
    meaning: 'where acme.sh is installed',
    type: 'path',
    default: '~/.acme.sh',
    parse: (text: string) => parseProgram(text.replace(/^~(?=\/)/, homeFolder())),
  },
  environment: {
    meaning: 'NAME=VALUE for the hook, which gets nothing else but PATH, HOME, LANG and TMPDIR; a file has one a line',
    type: 'text',
    list: true,
    secret: true,
    parse: parseVariables,
  },
  timeout: { meaning: 'how long one run may take', type: 'seconds', default: '120', parse: parseCount },
  parallel: {
    meaning: 'yes: the hook may run several times at once',
    type: 'yes or no',
    default: 'no',
    parse: parseYesNo,
  },
} as const

type Settings = OptionValues<typeof options>

const rememberedOutputs = 1000
/** A run can be older than its timeout by this much, where the machine was stopped meanwhile. */
const longestCrashMs = 3_600_000
const turns = createTurns()
/** What certbot's auth hooks wrote. Outlives a reload; after a restart the hook has run again, or gets nothing. */
const authOutputs = new Map<string, string>()

/** `type = dns01-exec`: the administrator's own hook, as another ACME client would call it. */
export const execProvider: Plugin<'dns', typeof options> = {
  kind: 'dns',
  name: 'dns01-exec',
  meaning: "prove names by DNS with a hook of your own: lego's, acme.sh's, dehydrated's or certbot's",
  options,
  check: checkDialect,
  async create(settings, setup) {
    const folder = join(setup.stateFolder, 'hooks')
    const leftoverMs = settings.timeout * 1000 + longestCrashMs
    if (settings.dialect === 'acme.sh') await removeLeftovers(folder, setup.clock.nowMs() - leftoverMs)
    for (const program of [settings.hook, settings['auth-hook'], settings['cleanup-hook']]) {
      if (program === undefined) continue
      await access(program, constants.X_OK).catch(() =>
        setup.log.warn('this hook cannot be run now', { hook: program }),
      )
    }
    const variables: Variables = new Map(settings.environment.flatMap((given) => [...given]))
    const inTurn = <T>(program: string, act: () => Promise<T>) => (settings.parallel ? act() : turns.take(program, act))
    return {
      addTxt: (record, context, task) => run('add', record, context, task),
      removeTxt: (record, context, task) => run('remove', record, context, task),
    }

    function run(action: Action, record: TxtRecord, context: PluginContext, task?: ChallengeTask): Promise<void> {
      const { dialect } = settings
      if (dialect === 'acme.sh')
        return inTurn(`${settings.plugin} ${settings.home}`, () => runPlugin(action, record, context))
      const program = programFor(settings, action)
      // Without a cleanup hook nothing is cleaned up, as with certbot.
      if (program === undefined) return Promise.resolve()
      return inTurn(settings['auth-hook'] ?? program, async () => {
        const key = `${settings['auth-hook']} ${record.fqdn} ${record.value}`
        const authOutput = action === 'remove' ? (authOutputs.get(key) ?? '') : undefined
        const call = describeCall(dialect, action, record, task, authOutput)
        const output = await runHook(
          {
            command: program,
            args: [...settings.argument, ...call.args],
            env: { ...basicEnvironment(), ...Object.fromEntries(variables), ...call.env },
            timeoutMs: settings.timeout * 1000,
            secrets: variables,
            problemCode: 'dns',
          },
          context,
        )
        if (dialect !== 'certbot') return
        if (action === 'add') remember(key, output.trim())
        else authOutputs.delete(key)
      })
    }

    async function runPlugin(action: Action, record: TxtRecord, context: PluginContext): Promise<void> {
      const { home, plugin = '' } = settings
      const file = await findAcmeShPlugin(home, plugin)
      await removeLeftovers(folder, context.clock.nowMs() - leftoverMs)
      await using own = await makePrivateFolder(folder)
      const saved = await copySavedCredentials(home, own.path)
      const verb = action === 'add' ? 'add' : 'rm'
      await runHook(
        {
          command: '/bin/sh',
          args: ['-c', acmeShWrapper, join(home, 'acme.sh'), plugin, file, verb, record.fqdn, record.value],
          env: {
            ...basicEnvironment(),
            ...{ LE_WORKING_DIR: home, LE_CONFIG_HOME: own.path, TMPDIR: own.path },
            ...{ DOMAIN_CONF: join(own.path, 'domain.conf'), ACCOUNT_CONF_PATH: join(own.path, 'account.conf') },
            ...Object.fromEntries(variables),
          },
          timeoutMs: settings.timeout * 1000,
          secrets: new Map([...saved, ...variables]),
          problemCode: 'dns',
        },
        context,
      )
    }
  },
}

/** A user that the system does not know (in a container) has none. */
function homeFolder(): string {
  try {
    return homedir()
  } catch {
    return '/'
  }
}

function basicEnvironment() {
  return { PATH: searchPath, HOME: homeFolder(), LANG: 'C.UTF-8', TMPDIR: tmpdir() }
}

function programFor(settings: Settings, action: Action): string | undefined {
  if (settings.dialect !== 'certbot') return settings.hook
  return action === 'add' ? settings['auth-hook'] : settings['cleanup-hook']
}

function remember(key: string, output: string): void {
  if (authOutputs.size >= rememberedOutputs) authOutputs.delete(authOutputs.keys().next().value ?? '')
  authOutputs.set(key, output)
}

function checkDialect(settings: Settings): void {
  const { dialect } = settings
  const needed = dialect === 'acme.sh' ? 'plugin' : dialect === 'certbot' ? 'auth-hook' : 'hook'
  if (settings[needed] === undefined) throw new Error(`dialect = ${dialect} needs ${needed}`)
  if (dialect === 'acme.sh' && settings.argument.length > 0) throw new Error('dialect = acme.sh has no argument')
  const fitting = dialect === 'certbot' ? ['auth-hook', 'cleanup-hook'] : [needed]
  for (const key of ['hook', 'auth-hook', 'cleanup-hook', 'plugin'] as const) {
    if (settings[key] !== undefined && !fitting.includes(key)) throw new Error(`dialect = ${dialect} has no ${key}`)
  }
}

function parseDialect(text: string): Dialect {
  const dialect = dialects.find((candidate) => candidate === text.toLowerCase())
  if (dialect === undefined) throw new Error(`${JSON.stringify(text)} is none of ${dialects.join(', ')}`)
  return dialect
}

function parseProgram(text: string): string {
  if (!isAbsolute(text)) throw new Error(`${JSON.stringify(text)} is no full path; arguments go into argument = ...`)
  return text
}

function parsePluginName(text: string): string {
  if (!/^dns_[A-Za-z0-9_-]{1,64}$/.test(text))
    throw new Error(`${JSON.stringify(text)} is no plugin's name, like dns_cf`)
  return text
}
