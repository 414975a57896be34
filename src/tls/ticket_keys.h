// TicketKeys: what seals the tickets of listeners that were given no keys.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "base/lock.h"

namespace warren::tls {

struct TicketKey {
  std::array<uint8_t, 16> name;
  std::array<uint8_t, 16> hmac;
  std::array<uint8_t, 16> aes;
};

// Keys that change every day. The one before still opens for another day, so a ticket is good for a day
// at least, and a key that is stolen opens no more than two.
//   thread  any
class TicketKeys {
 public:
  static constexpr int64_t kPeriod = int64_t{24} * 60 * 60;  // seconds

  // The process's own: listeners of all its reactors, and those that come after a reload, resume the
  // sessions of each other.
  static TicketKeys& ofProcess();

  // Those in force at `now`, in seconds since 1970: the first one seals, all of them open.
  std::vector<TicketKey> at(int64_t now);

 private:
  base::Mutex mutex_;
  int64_t since_ = 0;   // when the first key was made
  int64_t before_ = 0;  // and the one before it
  std::vector<TicketKey> keys_;
};

}  // namespace warren::tls
