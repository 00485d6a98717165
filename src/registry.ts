import { allKinds } from './approvals/kinds.js'
import type { Kinds } from './approvals/kind.js'
import { outsideKinds } from './approvals/outside-kinds.js'
import { settingKinds } from './approvals/settings.js'
import { accessKinds } from './auth/kinds.js'
import { tokenCreate } from './auth/token-kind.js'

/**
 * Every kind of change there is: each domain registers its own here, and each process that decides on changes, applies them
 * or checks them works with all of them.
 */
export const changeKinds: Kinds = allKinds([...accessKinds, tokenCreate, ...outsideKinds, ...settingKinds])
