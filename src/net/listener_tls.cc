// Listener: its TLS policy, replaced as a whole while it serves.
#include <utility>

#include "net/listener.h"
#include "net/secure.h"

namespace warren::net {

namespace {

#if WARREN_TLS
const Error kGone(Usage::closed, Step::options, "the listener is gone");
const Error kPlain(Usage::invalid, Step::options, "tls: the listener is a plain one");
#else
const Error kUnsupported(Usage::unsupported, Step::options, "tls: warren was built without it");
#endif

}  // namespace

#if WARREN_TLS

Result<void> Listener::reloadTls(const TlsOptions& options) {
  if (cell_ == nullptr) return kGone;
  if (cell_->tls == nullptr) return kPlain;
  Result<SharedTls> fresh = listenerTls(options);
  if (!fresh) return fresh.error();
  cell_->tls = std::move(*fresh);
  reconsider();
  return {};
}

Result<void> Listener::addServerName(std::string_view name, const TlsOptions& options) {
  if (cell_ == nullptr) return kGone;
  if (cell_->tls == nullptr) return kPlain;
  Result<SharedTls> fresh = withServerName(*cell_->tls, name, options);
  if (!fresh) return fresh.error();
  cell_->tls = std::move(*fresh);
  return {};
}

bool Listener::removeServerName(std::string_view name) {
  if (cell_ == nullptr || cell_->tls == nullptr) return false;
  SharedTls fresh = withoutServerName(*cell_->tls, name);
  const bool found = fresh->server->named.size() < cell_->tls->server->named.size();
  cell_->tls = std::move(fresh);
  return found;
}

#else

Result<void> Listener::reloadTls(const TlsOptions&) { return kUnsupported; }
Result<void> Listener::addServerName(std::string_view, const TlsOptions&) { return kUnsupported; }
bool Listener::removeServerName(std::string_view) { return false; }

#endif

}  // namespace warren::net
