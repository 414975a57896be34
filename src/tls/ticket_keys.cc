#include "tls/ticket_keys.h"

#include <openssl/rand.h>

#include <utility>

#include "tls/boring.h"

namespace warren::tls {
namespace {

TicketKey freshKey() {
  TicketKey key;
  RAND_bytes(reinterpret_cast<uint8_t*>(&key), sizeof key);  // never fails: it would abort
  return key;
}

}  // namespace

TicketKeys& TicketKeys::ofProcess() {
  static TicketKeys& keys = *new TicketKeys;  // as SessionCache::ofProcess
  return keys;
}

std::vector<TicketKey> TicketKeys::at(int64_t now) {
  const base::Lock lock(mutex_);
  const bool clockWentBack = now < since_;  // by years, perhaps
  if (keys_.empty() || now - since_ >= kPeriod || clockWentBack) {
    keys_.insert(keys_.begin(), freshKey());
    before_ = std::exchange(since_, now);
  }
  if (keys_.size() > 2) keys_.pop_back();
  if (keys_.size() == 2 && now - before_ >= 2 * kPeriod) keys_.pop_back();
  WARREN_CHECK(!keys_.empty() && keys_.size() <= 2);
  return keys_;
}

}  // namespace warren::tls
