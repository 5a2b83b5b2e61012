import { ProblemError } from '../../acme/problem.ts'
import type { ChallengeTask, TxtRecord } from '../../plugin-api.ts'
import { domainOf } from './challenge-domain.ts'

/** The ways in which ACME clients call hooks of this kind. acme.sh's plugins are no programs: see acme-sh.ts. */
export const dialects = ['lego', 'lego-raw', 'acme.sh', 'dehydrated', 'certbot'] as const
export type Dialect = (typeof dialects)[number]

/** What the dialect adds: arguments behind the administrator's own, and variables. */
export type HookCall = { readonly args: readonly string[]; readonly env: Readonly<Record<string, string>> }

export type Action = 'add' | 'remove'

/** @param authOutput what certbot's auth hook wrote, for its cleanup hook */
export function describeCall(
  dialect: Exclude<Dialect, 'acme.sh'>,
  action: Action,
  record: TxtRecord,
  task: ChallengeTask | undefined,
  authOutput: string | undefined,
): HookCall {
  const domain = domainOf(record, task)
  const verb = action === 'add' ? 'present' : 'cleanup'
  switch (dialect) {
    case 'lego':
      return { args: [verb, `${record.fqdn}.`, record.value], env: {} }
    case 'lego-raw': {
      const { challenge, keyAuthorization } = needTask(task, dialect)
      // A token may begin with a dash: lego puts this before it.
      return { args: [verb, '--', domain, challenge.token, keyAuthorization], env: {} }
    }
    case 'dehydrated': {
      const step = action === 'add' ? 'deploy_challenge' : 'clean_challenge'
      return { args: [step, domain, needTask(task, dialect).challenge.token, record.value], env: {} }
    }
    case 'certbot':
      return {
        args: [],
        env: {
          CERTBOT_DOMAIN: domain,
          CERTBOT_IDENTIFIER: domain,
          CERTBOT_VALIDATION: record.value,
          // Every call is complete in itself: nothing may wait for one that comes later.
          CERTBOT_REMAINING_CHALLENGES: '0',
          CERTBOT_ALL_DOMAINS: domain,
          ...(authOutput === undefined ? {} : { CERTBOT_AUTH_OUTPUT: authOutput }),
        },
      }
    default:
      return dialect satisfies never
  }
}

function needTask(task: ChallengeTask | undefined, dialect: Dialect): ChallengeTask {
  if (task !== undefined) return task
  throw new ProblemError('serverInternal', `a hook of the dialect ${dialect} needs the challenge's token`)
}
