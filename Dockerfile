# The compiler needs what other packages call optional: its own binary for the platform.
FROM node:20-alpine AS build
WORKDIR /app
COPY package.json package-lock.json ./
RUN npm ci --ignore-scripts --no-audit --no-fund
COPY tsconfig.json ./
COPY bin bin
COPY src src
COPY migrations migrations
COPY reports reports
RUN npm run build

# Optional here are the embedded PostgreSQL's binaries: a container gets its database by DATABASE_URL.
FROM node:20-alpine AS dependencies
WORKDIR /app
COPY package.json package-lock.json ./
RUN npm ci --omit=dev --omit=optional --ignore-scripts --no-audit --no-fund && npm cache clean --force

FROM node:20-alpine
ENV NODE_ENV=production \
    COUNTERSIGN_HOME=/var/lib/countersign \
    COUNTERSIGN_HTTP_HOST=0.0.0.0 \
    COUNTERSIGN_HTTP_PORT=4700
WORKDIR /app
COPY --from=dependencies /app/node_modules node_modules
COPY --from=build /app/dist/src dist/src
COPY --from=build /app/dist/migrations dist/migrations
COPY --from=build /app/dist/reports dist/reports
COPY package.json LICENSE ./
COPY bin/countersign.mjs bin/prepare.mjs bin/
# The key file and the reports; a volume put here takes over the owner.
RUN install -d -o node -g node -m 0700 /var/lib/countersign
USER node
VOLUME /var/lib/countersign
EXPOSE 4700
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s \
  CMD ["node", "-e", "fetch(`http://127.0.0.1:${process.env.COUNTERSIGN_HTTP_PORT}/readyz`).then((r) => process.exit(r.ok ? 0 : 1), () => process.exit(1))"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["node", "bin/countersign.mjs"]
CMD ["serve"]
