import type { BoxesTable } from './boxes-table.ts'
import type { PickUpsTable, SightingsTable } from './deployments-table.ts'

/** Times are integers, milliseconds since 1970; texts that are JSON end in `_json`. The same on every database. */
export type Schema = {
  answers: {
    type: string
    token: string
    host: string
    key_authorization: string
    expires_at_ms: number
    /** dns-01: the host's place in the tree of names, so that what is below a name can be found; see places.ts. */
    place: string | null
    publisher: string | null
  }
  dns_accounts: {
    username: string
    password_hash: string
    /** The owner name of its TXT records. */
    full_name: string
    block: string
    allow_from_json: string
    created_at_ms: number
  }
  certificates: { csr_sha256: string; issuer_key: string; profile: string; chain_pem: string; kept_at_ms: number }
  orders: {
    need: string
    issuer_key: string
    block: string
    names_json: string
    progress_json: string | null
    attempts: number
    holder: string | null
    lease_until_ms: number
    updated_at_ms: number
    /** What was posted, base64. */
    posted: string
    remote_address: string
    order_url: string | null
    replaced_serial: string | null
    steps_json: string
    began_at_ms: number
    resume_at_ms: number
    /** 1: when it is over, nothing of it stays. */
    unrecorded: number
  }
  order_stories: {
    need: string
    began_at_ms: number
    finished_at_ms: number
    issuer_key: string
    block: string
    names_json: string
    order_url: string | null
    outcome: string
    serial: string | null
    reason: string | null
    steps_json: string
  }
  register: {
    id: string
    block: string
    issuer: string
    storage: string
    profile: string | null
    names_json: string
    /** The names without their order, to find what else is for the same. */
    names_key: string
    posted: string
    remote_address: string
    issued_by: string
    serial: string
    not_before_ms: number
    not_after_ms: number
    issued_at_ms: number
    asked_at_ms: number
    superseded_at_ms: number | null
    revoked_at_ms: number | null
    watched_at_ms: number | null
    plan_json: string
    /** null: nothing to do for it. */
    wake_at_ms: number | null
    last_error: string | null
  }
  outages: { issuer_key: string; since_ms: number; failures: number; until_ms: number; reason: string }
  rate_buckets: {
    issuer_key: string
    limit_name: string
    subject: string
    full_at_ms: number
    capacity: number
    period_ms: number
  }
  blocked_keys: { public_key_sha256: string; reason: string; blocked_at_ms: number }
  audit_events: {
    at_ms: number
    kind: string
    names_json: string
    block: string | null
    remote_address: string | null
    facts_json: string
  }
  /** One row: what aliases are made with. */
  alias_keys: { id: number; key_base64: string; made_at_ms: number }
  servers: { holder: string; started_at_ms: number; seen_at_ms: number }
  boxes: BoxesTable
  box_registrations: {
    name: string
    block: string
    recipient_pem: string
    names_json: string
    key_type: string
    updated_at_ms: number
  }
  pick_ups: PickUpsTable
  sightings: SightingsTable
  signature_nonces: { key_id: string; nonce: string; forget_at_ms: number }
  enrolment_tokens: {
    /** SHA-256 in hexadecimal: who reads the state cannot enrol. */
    token_hash: string
    block: string
    label: string | null
    created_at_ms: number
    expires_at_ms: number
    /** The key id of the key that it enrolled. */
    used_by: string | null
  }
  enrolled_keys: {
    key_id: string
    block: string
    spki_pem: string
    label: string | null
    created_at_ms: number
    revoked_at_ms: number | null
  }
}
