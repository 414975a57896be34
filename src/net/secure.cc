#include "net/secure.h"

#include <cctype>
#include <utility>

#include "net/options.h"

namespace warren::net {

#if WARREN_TLS

namespace {

// Checks what is not BoringSSL's, and makes the credentials.
Result<std::shared_ptr<const tls::Credentials>> credentialsFor(const TlsOptions& options,
                                                               tls::Role role) {
  if (Result<void> limit = checkDuration(options.handshakeTimeout, "tls.handshakeTimeout");
      !limit) {
    return limit.error();
  }
  return tls::makeCredentials(options, role);
}

TlsPolicy limitsOf(const TlsOptions& options) {
  TlsPolicy policy;
  policy.maxHandshakes = options.maxHandshakes;
  policy.handshakeTimeout = options.handshakeTimeout;
  policy.tolerateTruncation = options.tolerateTruncation;
  return policy;
}

std::string lowered(std::string_view name) {
  std::string lower(name);
  for (char& letter : lower) {
    letter = static_cast<char>(std::tolower(static_cast<unsigned char>(letter)));
  }
  return lower;
}

// A copy of `policy` whose names are changed by `change`.
template <class Change>
SharedTls renamed(const TlsPolicy& policy, const Change& change) {
  auto server = std::make_shared<tls::ServerPolicy>(*policy.server);
  change(*server);
  TlsPolicy changed = policy;
  changed.server = std::move(server);
  return std::make_shared<const TlsPolicy>(std::move(changed));
}

}  // namespace

Result<SharedTls> listenerTls(const TlsSetting& setting) {
  if (!setting) return SharedTls();
  auto credentials = credentialsFor(*setting, tls::Role::server);
  if (!credentials) return credentials.error();
  auto server = std::make_shared<tls::ServerPolicy>();
  server->fallback = std::move(*credentials);
  TlsPolicy policy = limitsOf(*setting);
  policy.server = std::move(server);
  return SharedTls(std::make_shared<const TlsPolicy>(std::move(policy)));
}

Result<SharedTls> dialedTls(const TlsSetting& setting, const std::string& host) {
  if (!setting) return SharedTls();
  auto credentials = credentialsFor(*setting, tls::Role::client);
  if (!credentials) return credentials.error();
  TlsPolicy policy = limitsOf(*setting);
  policy.client = std::move(*credentials);
  policy.session = setting->session;
  policy.host = setting->serverName.empty() ? host : setting->serverName;
  return SharedTls(std::make_shared<const TlsPolicy>(std::move(policy)));
}

Result<SharedTls> withServerName(const TlsPolicy& policy, std::string_view name,
                                 const TlsOptions& options) {
  if (name.empty()) return Error(Usage::missing, Step::options, "the server name is empty");
  auto credentials = credentialsFor(options, tls::Role::server);
  if (!credentials) return credentials.error();
  return renamed(policy, [&](tls::ServerPolicy& server) {
    std::erase_if(server.named, [&](const auto& each) { return each.name == lowered(name); });
    server.named.push_back({lowered(name), std::move(*credentials)});
  });
}

SharedTls withoutServerName(const TlsPolicy& policy, std::string_view name) {
  return renamed(policy, [&](tls::ServerPolicy& server) {
    std::erase_if(server.named, [&](const auto& each) { return each.name == lowered(name); });
  });
}

#else

namespace {

Result<SharedTls> plainOnly(const TlsSetting& setting) {
  if (!setting) return SharedTls();
  return Error(Usage::unsupported, Step::options, "tls: warren was built without it");
}

}  // namespace

Result<SharedTls> listenerTls(const TlsSetting& setting) { return plainOnly(setting); }
Result<SharedTls> dialedTls(const TlsSetting& setting, const std::string&) {
  return plainOnly(setting);
}

#endif

}  // namespace warren::net
