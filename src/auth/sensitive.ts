/** Areas whose permissions lead to people's data, to other permissions, or past the second person. */
const GUARDED = new Set([
  'access',
  'approvals',
  'changes',
  'keyring',
  'keys',
  'personal',
  'policies',
  'schedules',
  'settings',
  'webhooks',
])
/** What may be done there by one person alone: looking, asking for a change and taking one's own request back. */
const HARMLESS = new Set(['read', 'request', 'withdraw'])

/**
 * Whether a token with these permissions needs two people once approvals are enforced. A `*` counts as everything that it
 * may stand for, what is yet to come included.
 */
export function isSensitive(permissions: readonly string[]): boolean {
  return permissions.some((permission) => {
    const [area = '', , verb = ''] = permission.split(/[/:]/)
    return (area === '*' || GUARDED.has(area)) && !HARMLESS.has(verb)
  })
}
