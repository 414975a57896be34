#include "tls/session_cache.h"

#include <algorithm>
#include <utility>

namespace warren::tls {

SessionCache& SessionCache::ofProcess() {
  // Never destroyed: a thread may still serve while the process ends.
  static SessionCache& cache = *new SessionCache;
  return cache;
}

void SessionCache::keep(const std::string& key, bssl::UniquePtr<SSL_SESSION> session) {
  const base::Lock lock(mutex_);
  std::erase_if(entries_, [&key](const Entry& entry) { return entry.key == key; });
  if (entries_.size() >= kHosts) entries_.erase(entries_.begin());
  entries_.push_back({key, std::move(session)});
  WARREN_CHECK(entries_.size() <= kHosts);
}

bssl::UniquePtr<SSL_SESSION> SessionCache::take(const std::string& key) {
  const base::Lock lock(mutex_);
  const auto found = std::find_if(entries_.begin(), entries_.end(),
                                  [&key](const Entry& entry) { return entry.key == key; });
  if (found == entries_.end()) return nullptr;
  if (SSL_SESSION_should_be_single_use(found->session.get())) {
    bssl::UniquePtr<SSL_SESSION> session = std::move(found->session);
    entries_.erase(found);
    return session;
  }
  std::rotate(found, found + 1, entries_.end());
  return bssl::UpRef(entries_.back().session);
}

void SessionCache::clear() {
  const base::Lock lock(mutex_);
  entries_.clear();
}

}  // namespace warren::tls
