#include "net/secure.h"

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
  return policy;
}

// Canonical. What no client can ask for would never be met, and what it demands never asked.
Result<std::string> askable(std::string_view given) {
  const std::string name = tls::canonicalName(given);
  if (name.empty()) return Error(Usage::missing, Step::options, "the server name is empty");
  const bool wildcard = name.starts_with("*.") && name.size() > 2;
  const std::string_view labels = std::string_view(name).substr(wildcard ? 2 : 0);
  if (name.size() > 255 || labels.find('*') != labels.npos || labels.find('\0') != labels.npos) {
    return Error(Usage::invalid, Step::options, "no client can ask for \"" + name + "\"");
  }
  return name;
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
  Result<std::string> expected = tls::Session::expectedHost(*policy.client, host);
  if (!expected) return expected.error();
  policy.host = std::move(*expected);
  return SharedTls(std::make_shared<const TlsPolicy>(std::move(policy)));
}

Result<SharedTls> withServerName(const TlsPolicy& policy, std::string_view name,
                                 const TlsOptions& options) {
  const Result<std::string> asked = askable(name);
  if (!asked) return asked.error();
  auto credentials = credentialsFor(options, tls::Role::server);
  if (!credentials) return credentials.error();
  return renamed(policy, [&](tls::ServerPolicy& server) {
    std::erase_if(server.named, [&](const auto& each) { return each.name == *asked; });
    server.named.push_back({*asked, std::move(*credentials)});
  });
}

SharedTls withoutServerName(const TlsPolicy& policy, std::string_view name) {
  return renamed(policy, [&](tls::ServerPolicy& server) {
    std::erase_if(server.named, [asked = tls::canonicalName(name)](const auto& each) {
      return each.name == asked;
    });
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
