// SessionCache: the latest session with each host, for clients that resume.
#pragma once

#include <string>
#include <vector>

#include "base/lock.h"
#include "tls/boring.h"

namespace warren::tls {

// At most kHosts; the one that was not used for longest makes room. A key says all that must be the same:
// the host, whom the client trusts, and who it is.
//   thread  any
class SessionCache {
 public:
  static constexpr size_t kHosts = 256;

  // The process's own: each connect checks its options anew, and so has credentials of its own.
  static SessionCache& ofProcess();

  void keep(const std::string& key, bssl::UniquePtr<SSL_SESSION> session);
  // The session to offer; null if there is none. One of TLS 1.3 is given away: its ticket is meant to
  // be used once, so that connections cannot be linked.
  bssl::UniquePtr<SSL_SESSION> take(const std::string& key);
  void clear();

 private:
  struct Entry {
    std::string key;
    bssl::UniquePtr<SSL_SESSION> session;
  };

  base::Mutex mutex_;
  std::vector<Entry> entries_;  // the latest used last
};

}  // namespace warren::tls
