import { leaf, type Cli, type Frame } from './cli.js'
import { withHost } from './host.js'

export function migrateCommand(frame: Frame): void {
  leaf(frame, frame.program, {
    usage: 'migrate',
    what: 'create or update the schema, the logins and, the first time, the key file',
    more: `DATABASE_URL needs the credentials of a role that may create roles, here and nowhere else: all other commands
log in with what follows from the key file. May be run at any time, also twice at once.`,
    examples: ['migrate', 'migrate --json'],
    run: migrate,
  })
}

async function migrate(cli: Cli): Promise<void> {
  await withHost(
    cli,
    async ({ installation, migrations, config }) => {
      const answer = { migrations, installation: installation.id, keyFile: config.keyFile }
      cli.result(answer, () => {
        const done = migrations.length === 0 ? 'nothing to migrate' : migrations.map((name) => `ran ${name}`).join('\n')
        return `${done}\ninstallation ${installation.id}, key file ${config.keyFile}\n`
      })
    },
    { migrate: true },
  )
}
